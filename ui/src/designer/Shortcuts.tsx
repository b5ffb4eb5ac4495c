import '../styles/dialog.css';

import { Modal } from '@mantine/core';

/** The keys of the designer. */
export function Shortcuts({ opened, close }: { opened: boolean; close: () => void }) {
  const keys: [string, string][] = [
    ['Ctrl K', 'all actions'],
    ['/', 'add a component'],
    ['Arrow keys', 'move what is selected'],
    ['Alt arrows', 'go along connections'],
    ['Del', 'delete'],
    ['Esc', 'select nothing; step out of a container'],
    ['Enter, F', 'step into what is selected; fold it'],
    ['Ctrl Enter', 'try up to what is selected'],
    ['Ctrl Shift Enter', 'try only that'],
    ['Menu key', 'what can be done with a component'],
    ['Ctrl C, X, V', 'copy, cut, paste as YAML'],
    ['Ctrl D', 'duplicate'],
    ['Ctrl Z, Ctrl Shift Z', 'undo, redo'],
    ['Ctrl A', 'select all'],
    ['1, 0, + and −', 'fit, actual size, zoom'],
    ['Shift L', 'tidy'],
    ['F8, Shift F8', 'next, previous problem'],
    ['O', 'outline'],
    ['S', 'source'],
    ['?', 'this list'],
  ];
  return (
    <Modal opened={opened} onClose={close} title="Keys of the designer" size="lg" closeButtonProps={{ 'aria-label': 'Close' }}>
      <div className="shortcuts">
        {keys.map(([key, what]) => [<kbd key={key}>{key}</kbd>, <span key={what}>{what}</span>])}
      </div>
    </Modal>
  );
}
