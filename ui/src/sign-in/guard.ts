import { askToSignIn, whileAsked } from './asked';
import { readAnew, refusalOf, send } from './session';

/**
 * Waits until somebody is signed in. Without a question when they are already: in another tab, or since the request was sent.
 * The page below the question stays as it is.
 */
export async function signedIn(): Promise<void> {
  const session = await readAnew().catch(() => undefined);
  if (session?.state === 'signed_out') await askToSignIn();
}

/** Sends a request to the API. When the session has ended it waits for the next one, and sends it once more. */
export async function guarded(request: Request): Promise<Response> {
  // What is asked of people is not asked of the server all the while.
  if (new URL(request.url).pathname.startsWith('/api/')) await whileAsked();
  const first = await send(request);
  if ((await refusalOf(first)) !== 'unauthorized') return first;
  await signedIn();
  return send(request);
}

/** Fetches what the API refers to by its address. */
export const fetchOf = (href: string, signal?: AbortSignal): Promise<Response> => guarded(new Request(new URL(href, location.origin), { ...(signal && { signal }) }));
