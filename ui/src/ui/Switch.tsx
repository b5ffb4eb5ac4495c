import '../styles/switch.css';

// With its styles, which no page needs at first sight.
export { Switch } from '@mantine/core';
