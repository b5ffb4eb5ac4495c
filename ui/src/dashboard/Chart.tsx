import 'uplot/dist/uPlot.min.css';

import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';
import uPlot from 'uplot';

import { lonely, marks, worded, type Drawing, type Series } from './series';

const HEIGHT = 180;
const DASHES: Record<Series['stroke'], number[]> = { whole: [], area: [], dashed: [7, 4], dotted: [2, 3] };

/** A drawing of numbers over time, in the colours of the page. What it shows is said beside it, and stands in a table. */
export default function Chart({ drawing }: { drawing: Drawing }) {
  const box = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined;
    const style = getComputedStyle(element);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour('dim'), grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line'), width: 1 }, font: '11px system-ui, sans-serif' };
    const spansGaps = drawing.unit === 'duration';
    const say = (value: number | null | undefined) => worded(value, drawing.unit);
    const width = () => Math.max(120, element.clientWidth);
    const plot = new uPlot(
      {
        width: width(),
        height: HEIGHT,
        cursor: { drag: { x: false, y: false }, points: { size: 6 } },
        scales: { y: { range: (_, __, most) => [0, Math.max(most ?? 0, 1) * 1.05] } },
        axes: [{ ...axis, values: (_, times, __, ___, step) => marks(times, step) }, { ...axis, size: drawing.unit === 'duration' ? 62 : 44, values: (_, steps) => steps.map((mark) => (drawing.unit === 'count' && !Number.isInteger(mark) ? '' : say(mark))) }],
        series: [
          { value: (_, at) => (at === null || at === undefined ? '–' : new Date(at * 1_000).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short', hourCycle: 'h23' })) },
          ...drawing.series.map(
            ({ label, tone, stroke, values }): uPlot.Series => ({
              label,
              stroke: colour(tone),
              width: 1.75,
              dash: DASHES[stroke],
              points: { show: false, size: 5, filter: () => lonely(values, spansGaps) },
              spanGaps: spansGaps,
              value: (_, value) => say(value),
              ...(stroke === 'area' && { fill: colour(`${tone}-soft`) }),
            }),
          ),
        ],
      },
      [drawing.times, ...drawing.series.map(({ values }) => values)],
      element,
    );
    const sizes = new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      plot.destroy();
    };
  }, [drawing, scheme]);
  return <div ref={box} className="chart-box" role="img" aria-label={`${drawing.title}: ${drawing.summary}`} />;
}
