import { useNavigate } from '@tanstack/react-router';

import Menu from '../ui/Menu';
import { sayProblem } from '../ui/notify';
import { signOut } from './deeds';

/** What a person may do about being signed in. */
export default function PersonMenu({ name, at, close }: { name: string; at: [number, number]; close: () => void }) {
  const navigate = useNavigate();
  return (
    <Menu
      label={`Signed in as ${name}`}
      at={at}
      onClose={close}
      commands={[
        { id: 'me', label: 'Your account', icon: 'person', run: () => void navigate({ to: '/me' }) },
        { id: 'sign-out', label: 'Sign out', icon: 'external', run: () => void signOut().catch((error: unknown) => sayProblem('You are still signed in', error)) },
      ]}
    />
  );
}
