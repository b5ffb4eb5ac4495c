import '@mantine/core/styles/SegmentedControl.css';

import { SegmentedControl, type SegmentedControlProps } from '@mantine/core';

/** One of a few, all of them in sight. Apart from the kit, because the designer does without. */
export function Segments(props: SegmentedControlProps<string>) {
  return <SegmentedControl size="xs" styles={{ label: { paddingInline: 10 } }} {...props} />;
}
