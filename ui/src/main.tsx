import './styles/kit.css';
import './styles/app.css';

import { MantineProvider } from '@mantine/core';
import { QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { setNonce } from 'get-nonce';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';

import { attend } from './api/attention';
import { queryClient } from './api/queryClient';
import { nonce } from './nonce';
import { router } from './router';
import { sessionQuery } from './sign-in/session';
import { theme } from './theme';

/** How long after the beginning other tabs and the end of the session are looked after, in milliseconds. */
const WATCH_AFTER = 1_000;

// Dialogs that keep the page behind them from scrolling write a style element of their own.
setNonce(nonce());

attend(queryClient);
// Every page waits for it.
void queryClient.prefetchQuery(sessionQuery);
setTimeout(() => void import('./sign-in/watch').then((part) => part.watch()).catch(() => undefined), WATCH_AFTER);

const root = document.getElementById('root');
if (root) {
  createRoot(root).render(
    <StrictMode>
      <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={nonce}>
        <QueryClientProvider client={queryClient}>
          <RouterProvider router={router} />
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  );
}
