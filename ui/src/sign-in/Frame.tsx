import '../styles/sign-in.css';

import type { ReactNode } from 'react';

import { useTitle } from '../ui/Page';

/** A page for somebody who is not signed in: one thing to do. */
export function Frame({ title, children }: { title: string; children: ReactNode }) {
  useTitle(title);
  return (
    <div className="sign-in">
      <p className="dim">APG Workflow Orchestration</p>
      <h1>{title}</h1>
      {children}
    </div>
  );
}
