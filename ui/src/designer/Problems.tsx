import { Icon } from '../ui/Icon';
import { said, type Placed } from './problems';

/** Every mistake, one click from where it is. */
export function Problems({ placed, current, onGo }: { placed: readonly Placed[]; current: number; onGo: (index: number) => void }) {
  return (
    <ul className="problems" aria-label="Problems">
      {placed.map(({ mistake, component }, index) => (
        <li key={index}>
          <button type="button" className={`problem${index === current ? ' is-current' : ''}`} onClick={() => onGo(index)}>
            <span className={`tone-${mistake.severity === 'error' ? 'bad' : 'warn'} problem-mark`}>
              <Icon name="alert" size={12} />
              <span className="visually-hidden">{mistake.severity}</span>
            </span>
            <code>{component ?? 'workflow'}</code>
            <span className="problem-text">{said(mistake)}</span>
            {mistake.line !== null && mistake.line !== undefined && <span className="dim num">line {mistake.line}</span>}
          </button>
        </li>
      ))}
    </ul>
  );
}
