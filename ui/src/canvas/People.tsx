import { ViewportPortal } from '@xyflow/react';

import type { Person } from '../collab/people';
import type { Box } from './view';

/** What others have selected, and where they point. */
export default function People({ people, boxes }: { people: readonly Person[]; boxes: ReadonlyMap<string, Box> }) {
  return (
    <ViewportPortal>
      {people.map((person) => (
        <div key={person.id} className={`person-${person.colour}`} aria-hidden="true">
          {person.selection.map((id, index) => {
            const box = boxes.get(id);
            return (
              box && (
                <div key={id} className="person-ring" data-id={id} style={{ transform: `translate(${box.x}px, ${box.y}px)`, width: box.width, height: box.height }}>
                  {index === 0 && <span className="person-name">{person.name}</span>}
                </div>
              )
            );
          })}
          {person.at && (
            <div className="person-pointer" style={{ transform: `translate(${person.at[0]}px, ${person.at[1]}px)` }}>
              <svg width="14" height="18" viewBox="0 0 14 18">
                <path d="M0 0 L14 9 L7 10 L4 18 Z" />
              </svg>
              <span className="person-name">{person.name}</span>
            </div>
          )}
        </div>
      ))}
    </ViewportPortal>
  );
}
