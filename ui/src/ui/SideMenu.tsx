import '../styles/dialog.css';
import '@mantine/core/styles/Drawer.css';

import { Drawer } from '@mantine/core';

import { Navigation } from './Shell';

/** The pages, on a narrow window. */
export function SideMenu({ opened, close }: { opened: boolean; close: () => void }) {
  return (
    <Drawer opened={opened} onClose={close} size={240} title="APG" closeButtonProps={{ 'aria-label': 'Close the menu' }}>
      <Navigation onGo={close} />
    </Drawer>
  );
}
