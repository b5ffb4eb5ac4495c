/** What can be done to an execution that has not ended. */
export type Deed = 'cancel' | 'kill' | 'pause' | 'resume';

export const DEEDS: Record<Deed, { title: string; text: string; word: string; done: string }> = {
  cancel: {
    title: 'Cancel this execution?',
    text: 'What runs is asked to stop, and clean-up runs. It ends as cancelled.',
    word: 'Cancel it',
    done: 'It is being cancelled.',
  },
  kill: {
    title: 'End this execution at once?',
    text: 'Nothing cleans up, and what still runs at workers does not count any more.',
    word: 'Kill it',
    done: 'It ends at once.',
  },
  pause: { title: 'Pause this execution?', text: 'What runs goes on; nothing new starts until it is resumed.', word: 'Pause it', done: 'Paused.' },
  resume: { title: '', text: '', word: 'Resume', done: 'It goes on.' },
};
