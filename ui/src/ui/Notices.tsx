import { CloseButton } from '@mantine/core';
import { useEffect, useState } from 'react';

import { Icon } from './Icon';
import { dismiss, useNotices, type Notice } from './notify';

function Line({ notice }: { notice: Notice }) {
  const { number, title, message, isProblem, stays } = notice;
  const [isHeld, setHeld] = useState(false);
  useEffect(() => {
    if (isHeld) return undefined;
    const timer = setTimeout(() => dismiss(number), stays);
    return () => clearTimeout(timer);
  }, [number, stays, isHeld]);
  return (
    <div
      className={`notice${isProblem ? ' tone-bad' : ''}`}
      {...(isProblem && { role: 'alert' })}
      onPointerEnter={() => setHeld(true)}
      onPointerLeave={() => setHeld(false)}
      onFocus={() => setHeld(true)}
      onBlur={() => setHeld(false)}
    >
      {isProblem && <Icon name="alert" size={14} />}
      <div className="notice-text">
        {title && <strong>{title}</strong>}
        <span>{message}</span>
      </div>
      <CloseButton size="sm" aria-label="Close this notice" onClick={() => dismiss(number)} />
    </div>
  );
}

/** Short words to whoever looks at the page. They are part of the shell: what failed can be said without the network. */
export function Notices() {
  const notices = useNotices();
  return (
    <section className="notices" aria-label="Notices" aria-live="polite">
      {notices.map((notice) => (
        <Line key={notice.number} notice={notice} />
      ))}
    </section>
  );
}
