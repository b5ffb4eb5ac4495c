import { Button, TextInput } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';

import { Icon } from '../ui/Icon';
import { say } from '../ui/notify';
import { keepSaved, loadSaved, sameFilters, withSaved, type Filters, type SavedFilters as Saved } from './savedFilters';

/** Filters that were given a name: one click each, and the present ones can be given one. */
export function SavedFilters({ filters }: { filters: Filters }) {
  const [saved, setSaved] = useState(loadSaved);
  const [name, setName] = useState<string>();
  const isFiltered = Object.keys(filters).length > 0;
  const isSaved = saved.some((each) => sameFilters(each.filters, filters));
  const change = (next: Saved[]) => {
    setSaved(next);
    if (!keepSaved(next)) say('This browser keeps nothing more: the filter is gone with this page.');
  };
  if (saved.length === 0 && !isFiltered) return null;
  return (
    <nav className="filters" aria-label="Saved filters">
      {saved.map((each) => {
        const isCurrent = sameFilters(each.filters, filters);
        return (
          <span key={each.name} className={`tag filter-tag${isCurrent ? '' : ' quiet'}`}>
            <Link to="/executions" search={each.filters as never} {...(isCurrent && { 'aria-current': 'page' as const })}>
              {each.name}
            </Link>
            <button type="button" aria-label={`Forget the filter ${each.name}`} onClick={() => change(saved.filter((other) => other.name !== each.name))}>
              <Icon name="cross" size={10} />
            </button>
          </span>
        );
      })}
      {isFiltered && !isSaved && name === undefined && (
        <Button size="compact-xs" variant="subtle" leftSection={<Icon name="save" size={12} />} onClick={() => setName('')}>
          Save this filter
        </Button>
      )}
      {name !== undefined && (
        <form
          className="filters"
          onSubmit={(event) => {
            event.preventDefault();
            if (name.trim() === '') return;
            change(withSaved(saved, { name: name.trim(), filters }));
            setName(undefined);
          }}
        >
          <TextInput
            size="xs"
            aria-label="Name of the filter"
            placeholder="its name"
            autoFocus
            maxLength={60}
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === 'Escape') setName(undefined);
            }}
          />
          <Button size="xs" type="submit" disabled={name.trim() === ''}>
            Save
          </Button>
        </form>
      )}
    </nav>
  );
}
