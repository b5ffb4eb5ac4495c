import { NativeSelect, type NativeSelectProps } from '@mantine/core';

interface Props extends Omit<NativeSelectProps, 'data' | 'value' | 'onChange' | 'multiple'> {
  data: readonly (string | { value: string; label: string })[];
  /** What is chosen; undefined when nothing is. */
  value: string | undefined;
  /** What stands there when nothing is chosen. Without it something is always chosen. */
  none?: string | undefined;
  /** Whether a choice can be taken back. */
  clearable?: boolean;
  readOnly?: boolean;
  onChange: (value: string | undefined) => void;
}

/** One of a few: the browser's own list, which phones and readers of screens know best. */
export function Choice({ data, value, none, clearable = none !== undefined, readOnly = false, onChange, ...rest }: Props) {
  return (
    <NativeSelect
      size="xs"
      {...rest}
      disabled={rest.disabled || readOnly}
      data={[...(none !== undefined ? [{ value: '', label: none, disabled: !clearable && value !== undefined }] : []), ...data]}
      value={value ?? ''}
      onChange={(event) => onChange(event.currentTarget.value === '' ? undefined : event.currentTarget.value)}
    />
  );
}
