import '../styles/menu.css';

import { useEffect, useRef, type KeyboardEvent } from 'react';

import type { Command } from './commands';
import { Icon } from './Icon';

/** What can be done, where it was asked for. */
export default function Menu({ label, at, commands, onClose }: { label: string; at: [number, number]; commands: readonly Command[]; onClose: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  const before = useRef(document.activeElement);
  const close = () => {
    (before.current as HTMLElement | null)?.focus?.();
    onClose();
  };
  useEffect(() => {
    box.current?.querySelector<HTMLElement>('[role="menuitem"]')?.focus();
    const away = (event: PointerEvent) => {
      if (!box.current?.contains(event.target as Node)) onClose();
    };
    addEventListener('pointerdown', away, true);
    return () => removeEventListener('pointerdown', away, true);
  }, [onClose]);
  const onKey = (event: KeyboardEvent) => {
    const items = [...(box.current?.querySelectorAll<HTMLElement>('[role="menuitem"]') ?? [])];
    const now = items.indexOf(document.activeElement as HTMLElement);
    const go = (to: number) => items[(to + items.length) % items.length]?.focus();
    event.stopPropagation();
    if (event.key === 'ArrowDown') go(now + 1);
    else if (event.key === 'ArrowUp') go(now - 1);
    else if (event.key === 'Home') go(0);
    else if (event.key === 'End') go(-1);
    else if (event.key === 'Escape' || event.key === 'Tab') close();
    else return;
    event.preventDefault();
  };
  return (
    <div
      ref={box}
      className="menu"
      role="menu"
      aria-label={label}
      style={{ left: Math.max(8, Math.min(at[0], innerWidth - 256)), top: Math.max(8, Math.min(at[1], innerHeight - commands.length * 34 - 16)) }}
      onKeyDown={onKey}
      onContextMenu={(event) => event.preventDefault()}
    >
      {commands.map((command) => (
        <button
          key={command.id}
          type="button"
          role="menuitem"
          tabIndex={-1}
          aria-disabled={command.reason !== undefined}
          title={command.reason}
          onClick={() => {
            if (command.reason !== undefined) return;
            close();
            command.run();
          }}
        >
          <Icon name={command.icon} size={14} />
          <span>{command.label}</span>
          {command.keys && <kbd>{command.keys}</kbd>}
        </button>
      ))}
    </div>
  );
}
