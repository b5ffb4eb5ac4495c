import { useState } from 'react';

import type { Person } from '../collab/people';
import type { Session } from '../collab/session';

const initials = (name: string) =>
  name
    .split(/\s+/)
    .map((word) => word[0] ?? '')
    .join('')
    .slice(0, 2)
    .toUpperCase();

/** Who else has the document open. */
export function Presence({ session, people }: { session: Session; people: readonly Person[] }) {
  const [name, setName] = useState(session.name);
  if (people.length === 0) return null;
  return (
    <span className="presence">
      <ul aria-label="Also here">
        {people.map((person) => (
          <li key={person.id} className={`person person-${person.colour}`} title={person.selection.length > 0 ? `${person.name}: ${person.selection.join(', ')}` : person.name}>
            <span aria-hidden="true">{initials(person.name)}</span>
            <span className="visually-hidden">{person.name}</span>
          </li>
        ))}
      </ul>
      <input
        aria-label="Your name, as others see it"
        className="presence-name"
        maxLength={40}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
        onBlur={() => {
          if (name.trim() === '') setName(session.name());
          else session.rename(name.trim());
        }}
        onKeyDown={(event) => {
          if (event.key === 'Enter') event.currentTarget.blur();
        }}
      />
    </span>
  );
}
