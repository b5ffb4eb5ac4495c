/** Our own icons: strokes on a grid of 16. System fonts lack many symbols, and an icon font would be one more file. */
const PATHS = {
  dot: 'M8 7a1 1 0 1 0 0 2a1 1 0 1 0 0-2z',
  clock: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11zM8 5v3.2l2.2 1.3',
  check: 'M3.2 8.4l3.1 3.1l6.5-7',
  cross: 'M4 4l8 8M12 4l-8 8',
  spin: 'M8 2.5a5.5 5.5 0 1 1-5.2 3.7',
  retry: 'M12.9 6.3a5.2 5.2 0 1 0 .2 3.4M13.2 3v3.4h-3.4',
  pause: 'M5.6 3.5v9M10.4 3.5v9',
  play: 'M5 3.3l7.5 4.7l-7.5 4.7z',
  stop: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11zM4.3 4.3l7.4 7.4',
  skip: 'M4 4l4.5 4L4 12M11.5 4v8',
  alert: 'M8 2.8l6 10.4H2zM8 6.6v3M8 11.3v.2',
  person: 'M8 2.7a2.4 2.4 0 1 0 0 4.8a2.4 2.4 0 1 0 0-4.8zM3.2 13.3c.4-3 2.3-4.2 4.8-4.2s4.4 1.2 4.8 4.2',
  signal: 'M8 9.2v4.3M8 6.6a1 1 0 1 0 0 2a1 1 0 1 0 0-2zM4.9 10.7a4.4 4.4 0 0 1 0-6.2M11.1 10.7a4.4 4.4 0 0 0 0-6.2',
  search: 'M7 2.8a4.2 4.2 0 1 0 0 8.4a4.2 4.2 0 1 0 0-8.4zM10.2 10.2l3.3 3.3',
  plus: 'M8 3.2v9.6M3.2 8h9.6',
  minus: 'M3.2 8h9.6',
  sun: 'M8 5.3a2.7 2.7 0 1 0 0 5.4a2.7 2.7 0 1 0 0-5.4zM8 1.8v1.4M8 12.8v1.4M1.8 8h1.4M12.8 8h1.4M3.6 3.6l1 1M11.4 11.4l1 1M3.6 12.4l1-1M11.4 4.6l1-1',
  moon: 'M12.8 9.6A5.4 5.4 0 0 1 6.4 3.2a5.4 5.4 0 1 0 6.4 6.4z',
  menu: 'M2.8 4.5h10.4M2.8 8h10.4M2.8 11.5h10.4',
  flow: 'M3.8 6.2a1.8 1.8 0 1 0 0 3.6a1.8 1.8 0 1 0 0-3.6zM12.2 2.2a1.8 1.8 0 1 0 0 3.6a1.8 1.8 0 1 0 0-3.6zM12.2 10.2a1.8 1.8 0 1 0 0 3.6a1.8 1.8 0 1 0 0-3.6zM5.5 7.3l5-2.6M5.5 8.7l5 2.6',
  list: 'M5.5 4.2h7.7M5.5 8h7.7M5.5 11.8h7.7M2.8 4.2h.2M2.8 8h.2M2.8 11.8h.2',
  server: 'M2.8 3h10.4v4H2.8zM2.8 9h10.4v4H2.8zM5.2 5h.2M5.2 11h.2',
  book: 'M3.2 3.2c2-.7 3.6-.5 4.8.6c1.2-1.1 2.8-1.3 4.8-.6v9.2c-2-.7-3.6-.5-4.8.6c-1.2-1.1-2.8-1.3-4.8-.6zM8 3.8v9.2',
  chevron: 'M6 3.8L10.2 8L6 12.2',
  down: 'M3.8 6L8 10.2L12.2 6',
  external: 'M9.2 2.8h4v4M13 3L7.5 8.5M11.5 9.2v4H2.8V4.5h4',
  copy: 'M5.5 5.5h7.7v7.7H5.5zM10.5 5.5V2.8H2.8v7.7h2.7',
  download: 'M8 2.8v7M4.9 7l3.1 3.1L11.1 7M2.8 13.2h10.4',
  trash: 'M3 4.5h10M6.2 4.3V2.8h3.6v1.5M4.2 4.7l.6 8.5h6.4l.6-8.5',
  undo: 'M3 6.5h6.5a3.5 3.5 0 0 1 0 7H6.8M5.8 3.6L3 6.5l2.8 2.9',
  redo: 'M13 6.5H6.5a3.5 3.5 0 0 0 0 7h2.7M10.2 3.6L13 6.5l-2.8 2.9',
  tidy: 'M2.8 3h3.8v3H2.8zM9.4 6.5h3.8v3H9.4zM2.8 10h3.8v3H2.8zM6.6 4.5h1.2v7H6.6M7.8 8h1.6',
  fit: 'M2.8 6V2.8H6M10 2.8h3.2V6M13.2 10v3.2H10M6 13.2H2.8V10',
  code: 'M5.5 4.2L2 8l3.5 3.8M10.5 4.2L14 8l-3.5 3.8',
  panel: 'M2.8 3h10.4v10H2.8zM9.8 3v10',
  save: 'M2.8 2.8h8.4l2 2v8.4H2.8zM5 2.8v3.4h5V2.8M5 13.2V9.4h6v3.8',
  upload: 'M8 13V4M4.6 7.2L8 3.8l3.4 3.4M2.8 2.6h10.4',
  help: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11zM6.3 6.4c.1-2.2 3.5-2.1 3.4-.1c0 1.4-1.7 1.4-1.7 2.8M8 11.2v.1',
  branch: 'M2.6 8h3.2L9 4h4.2M5.8 8L9 12h4.2M11.4 2.2L13.2 4l-1.8 1.8M11.4 10.2l1.8 1.8l-1.8 1.8',
  loop: 'M4 5.5h7.2a2 2 0 0 1 2 2M12 10.5H4.8a2 2 0 0 1-2-2M6 3.3L3.8 5.5L6 7.7M10 8.3l2.2 2.2l-2.2 2.2',
  box: 'M2.8 4.6h10.4v8.6H2.8zM2.8 4.6l1.4-2h7.6l1.4 2M6.4 7.2h3.2',
  globe: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11zM2.6 8h10.8M8 2.6c-3.4 3-3.4 7.8 0 10.8c3.4-3 3.4-7.8 0-10.8z',
  table: 'M2.8 3h10.4v10H2.8zM2.8 6.4h10.4M2.8 9.7h10.4M6.6 6.4V13',
  database: 'M8 2.6c3 0 5 .8 5 1.9s-2 1.9-5 1.9s-5-.8-5-1.9s2-1.9 5-1.9zM3 4.5v7c0 1.1 2 1.9 5 1.9s5-.8 5-1.9v-7M3 8c0 1.1 2 1.9 5 1.9s5-.8 5-1.9',
  file: 'M4 2.6h5l3 3v7.8H4zM9 2.6v3h3',
  text: 'M3 4h10M3 7h10M3 10h6.5M3 13h4',
  flag: 'M4 13.6V2.8h7.8L10.2 5.6l1.6 2.8H4',
  bolt: 'M9 2.2L3.8 9h3.4L6.6 13.8L12.2 6.8H8.6z',
  shield: 'M8 2.4l4.8 1.7v3.7c0 2.9-1.9 4.8-4.8 5.9c-2.9-1.1-4.8-3-4.8-5.9V4.1z',
  bell: 'M4.4 11.4V7a3.6 3.6 0 0 1 7.2 0v4.4M3 11.4h10M6.8 13.4h2.4',
  filter: 'M2.6 3.2h10.8L9.4 8.2v4.2l-2.8 1.2V8.2z',
  sigma: 'M12 4.6V3H4l4 5l-4 5h8v-1.6',
  chart: 'M2.8 13.2h10.4M4.6 12.8V8.5M8 12.8V3.8M11.4 12.8V6.4',
  pin: 'M5.6 2.8h4.8l-.7 4.1l2.3 2.3H4l2.3-2.3zM8 9.2v4.3',
  link: 'M6.6 9.4l2.8-2.8M7.2 4.8l1.3-1.3a2.8 2.8 0 0 1 4 4L11.200 8.800M8.800 11.200L7.500 12.500a2.800 2.800 0 0 1-4-4L4.800 7.200',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16, className }: { name: IconName; size?: number; className?: string }) {
  return (
    <svg
      className={className ? `icon ${className}` : 'icon'}
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill={name === 'play' ? 'currentColor' : 'none'}
      stroke="currentColor"
      strokeWidth={name === 'dot' ? 3 : 1.5}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      focusable="false"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
