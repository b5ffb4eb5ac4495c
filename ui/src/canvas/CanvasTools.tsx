import { ActionIcon } from '@mantine/core';
import type { RefObject } from 'react';

import { Icon } from '../ui/Icon';
import type { CanvasHandle } from './Canvas';

/** Fit and zoom, in the corner of a canvas. `what` is shown on it, such as "the drawing". */
export function CanvasTools({ handle, what }: { handle: RefObject<CanvasHandle | null>; what: string }) {
  return (
    <div className="canvas-tools">
      <ActionIcon data-hint="Fit" variant="default" size="sm" aria-label={`Fit ${what}`} onClick={() => handle.current?.fit()}>
        <Icon name="fit" size={13} />
      </ActionIcon>
      <ActionIcon variant="default" size="sm" aria-label="Nearer" onClick={() => handle.current?.zoom(1)}>
        <Icon name="plus" size={13} />
      </ActionIcon>
      <ActionIcon variant="default" size="sm" aria-label="Further away" onClick={() => handle.current?.zoom(-1)}>
        <Icon name="minus" size={13} />
      </ActionIcon>
    </div>
  );
}
