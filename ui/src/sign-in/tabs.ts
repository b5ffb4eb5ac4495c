/** What a tab tells the others of this browser about the session they share. */
type Said = 'in' | 'out';

let channel: BroadcastChannel | undefined;

function tabs(): BroadcastChannel | undefined {
  if ('BroadcastChannel' in globalThis) channel ??= new BroadcastChannel('apg.session');
  return channel;
}

export const tellTabs = (said: Said): void => tabs()?.postMessage(said);

export function hearTabs(heard: (said: Said) => void): void {
  const all = tabs();
  if (all) all.onmessage = ({ data }: MessageEvent<Said>) => heard(data);
}
