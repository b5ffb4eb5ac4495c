import { createTheme } from '@mantine/core';

/** Dense and calm: small type, one accent, no shadows where a line is enough. */
export const theme = createTheme({
  primaryColor: 'apg',
  primaryShade: { light: 7, dark: 7 },
  colors: {
    apg: [
      '#eaf4f8', '#d5e7ef', '#abd0e0', '#7fb7d0', '#5ca2c2', '#4595b9', '#388eb5', '#28769a', '#22688a', '#13506d',
    ],
  },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
  fontSizes: { xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.125rem' },
  defaultRadius: 'sm',
  cursorType: 'pointer',
  respectReducedMotion: true,
  autoContrast: true,
});
