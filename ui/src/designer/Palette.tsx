import { TextInput } from '@mantine/core';
import { useId, useMemo, useState, type KeyboardEvent } from 'react';

import type { ComponentType } from '../api/client';
import { iconOf } from '../canvas/icons';
import { Icon } from '../ui/Icon';
import { FAMILY_NAMES, find, recent } from './palette';

/** Every component type, searched by name, synonym and family; by keyboard alone. */
export function Palette({
  types,
  onAdd,
  autoFocus = false,
  onEscape,
}: {
  types: readonly ComponentType[];
  onAdd: (type: ComponentType) => void;
  autoFocus?: boolean;
  onEscape?: () => void;
}) {
  const [query, setQuery] = useState('');
  const [active, setActive] = useState(0);
  const listId = useId();
  const groups = useMemo(() => {
    const found = find(types, query);
    if (query.trim() !== '') return [{ name: '', types: found }];
    const last = recent()
      .map((name) => types.find((type) => type.type === name))
      .filter((type): type is ComponentType => type !== undefined);
    const families = [...new Set(found.map((type) => type.family))];
    return [
      ...(last.length > 0 ? [{ name: 'Recent', types: last }] : []),
      ...families.map((family) => ({ name: FAMILY_NAMES[family] ?? family, types: found.filter((type) => type.family === family) })),
    ];
  }, [types, query]);
  const flat = groups.flatMap((group) => group.types);
  const at = Math.min(active, flat.length - 1);

  const onKey = (event: KeyboardEvent) => {
    const move = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    if (move !== 0) {
      event.preventDefault();
      const next = Math.max(0, Math.min(flat.length - 1, at + move));
      setActive(next);
      document.getElementById(`${listId}-${next}`)?.scrollIntoView({ block: 'nearest' });
    } else if (event.key === 'Enter') {
      event.preventDefault();
      const chosen = flat[at];
      if (chosen) onAdd(chosen);
    } else if (event.key === 'Escape') {
      if (query) setQuery('');
      else onEscape?.();
      event.stopPropagation();
    }
  };

  let index = -1;
  return (
    <div className="palette">
      <TextInput
        size="xs"
        placeholder="Find a component"
        aria-label="Find a component"
        role="combobox"
        aria-expanded="true"
        aria-controls={listId}
        aria-activedescendant={flat.length > 0 ? `${listId}-${at}` : undefined}
        leftSection={<Icon name="search" size={13} />}
        value={query}
        onChange={(event) => {
          setQuery(event.currentTarget.value);
          setActive(0);
        }}
        onKeyDown={onKey}
        data-autofocus={autoFocus || undefined}
        autoFocus={autoFocus}
      />
      <div className="palette-list" id={listId} role="listbox" aria-label="Components" tabIndex={-1}>
        {flat.length === 0 && <p className="dim palette-none">Nothing is called that.</p>}
        {groups.map((group) => (
          <div key={group.name} role="group" aria-label={group.name || 'Found'}>
            {group.name && <div className="palette-family">{group.name}</div>}
            {group.types.map((type) => {
              index += 1;
              const mine = index;
              return (
                <div
                  key={type.type}
                  id={`${listId}-${mine}`}
                  role="option"
                  aria-selected={mine === at}
                  className={`palette-type${mine === at && query ? ' is-active' : ''}`}
                  draggable
                  onDragStart={(event) => {
                    event.dataTransfer.setData('application/apg-type', type.type);
                    event.dataTransfer.effectAllowed = 'copy';
                  }}
                  onClick={() => onAdd(type)}
                  title={type.summary}
                >
                  <span className="card-icon">
                    <Icon name={iconOf(type)} size={14} />
                  </span>
                  <span className="palette-text">
                    <span>{type.type.replaceAll('_', ' ')}</span>
                    {query && <span className="dim clip">{type.summary}</span>}
                  </span>
                </div>
              );
            })}
          </div>
        ))}
      </div>
    </div>
  );
}
