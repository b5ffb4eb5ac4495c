import { Icon } from './Icon';
import { look } from './status';

/** A status as colour, icon and word. */
export function Status({ status, compact = false }: { status: string; compact?: boolean }) {
  const { tone, icon, word } = look(status);
  return (
    <span className={`status tone-${tone}`} data-status={status} title={compact ? word : undefined}>
      <Icon name={icon} size={13} className={status === 'running' ? 'turning' : ''} />
      <span className={compact ? 'visually-hidden' : ''}>{word}</span>
    </span>
  );
}
