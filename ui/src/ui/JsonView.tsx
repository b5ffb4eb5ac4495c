import { ActionIcon, CopyButton } from '@mantine/core';

import { Icon } from './Icon';

/** A value as text, with a button that copies it. */
export function JsonView({ value, label, max = 320 }: { value: unknown; label: string; max?: number }) {
  const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2);
  return (
    <div className="json">
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <ActionIcon data-hint={copied ? 'Copied' : 'Copy'} className="json-copy" variant="subtle" color="gray" size="sm" onClick={copy} aria-label={`Copy ${label}`}>
            <Icon name={copied ? 'check' : 'copy'} size={14} />
          </ActionIcon>
        )}
      </CopyButton>
      <pre tabIndex={0} aria-label={label} style={{ maxHeight: max }}>
        {text}
      </pre>
    </div>
  );
}
