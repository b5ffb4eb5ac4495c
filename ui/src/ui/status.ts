import type { IconName } from './Icon';

/** How a status looks. A status is always a colour, an icon and a word. */
export interface Look {
  tone: 'good' | 'bad' | 'busy' | 'wait' | 'warn' | 'quiet';
  icon: IconName;
  word: string;
}

const LOOKS: Record<string, Look> = {
  pending: { tone: 'wait', icon: 'clock', word: 'Pending' },
  waiting: { tone: 'quiet', icon: 'dot', word: 'Waiting' },
  ready: { tone: 'wait', icon: 'clock', word: 'Ready' },
  limited: { tone: 'wait', icon: 'clock', word: 'In line' },
  offered: { tone: 'wait', icon: 'clock', word: 'Offered' },
  dispatched: { tone: 'busy', icon: 'spin', word: 'Dispatched' },
  running: { tone: 'busy', icon: 'spin', word: 'Running' },
  retrying: { tone: 'warn', icon: 'retry', word: 'Retrying' },
  delayed: { tone: 'wait', icon: 'clock', word: 'Delayed' },
  asked: { tone: 'warn', icon: 'person', word: 'Asked' },
  awaiting: { tone: 'wait', icon: 'signal', word: 'Awaiting' },
  paused: { tone: 'warn', icon: 'pause', word: 'Paused' },
  completed: { tone: 'good', icon: 'check', word: 'Completed' },
  failed: { tone: 'bad', icon: 'cross', word: 'Failed' },
  failing: { tone: 'bad', icon: 'alert', word: 'Failing' },
  lost: { tone: 'warn', icon: 'alert', word: 'Lost' },
  returned: { tone: 'quiet', icon: 'retry', word: 'Returned' },
  carried: { tone: 'good', icon: 'pin', word: 'Carried' },
  pinned: { tone: 'wait', icon: 'pin', word: 'Pinned' },
  skipped: { tone: 'quiet', icon: 'skip', word: 'Skipped' },
  cancelled: { tone: 'quiet', icon: 'stop', word: 'Cancelled' },
  open: { tone: 'warn', icon: 'person', word: 'Open' },
  approved: { tone: 'good', icon: 'check', word: 'Approved' },
  submitted: { tone: 'good', icon: 'check', word: 'Submitted' },
  rejected: { tone: 'bad', icon: 'cross', word: 'Rejected' },
  expired: { tone: 'quiet', icon: 'clock', word: 'Expired' },
  started: { tone: 'good', icon: 'play', word: 'Started' },
  disabled: { tone: 'quiet', icon: 'stop', word: 'Switched off' },
  cannot_be_activated: { tone: 'bad', icon: 'cross', word: 'Cannot be activated' },
  active: { tone: 'good', icon: 'check', word: 'Active' },
  archived: { tone: 'quiet', icon: 'stop', word: 'Archived' },
  ok: { tone: 'good', icon: 'check', word: 'OK' },
  degraded: { tone: 'warn', icon: 'alert', word: 'Degraded' },
  down: { tone: 'bad', icon: 'cross', word: 'Down' },
};

/** The look of a status word of the API; one that is not known yet is shown as it is. */
export function look(status: string): Look {
  return LOOKS[status] ?? { tone: 'quiet', icon: 'dot', word: status };
}

/** Whether an execution has its last status. */
export function isFinal(status: string): boolean {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}
