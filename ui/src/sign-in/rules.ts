const SHORTEST = 12;
const LONGEST = 128;

export const PASSWORD_HINT = `${SHORTEST} to ${LONGEST} characters of any kind; a few words are easy to remember. The first that anybody would try are refused.`;

/** What is wrong with a name before it is sent. */
export function nameMistake(name: string): string | undefined {
  if (name === '') return 'Give your name.';
  return /^[\p{L}\p{N}._@-]{1,64}$/u.test(name) ? undefined : 'At most 64 letters, digits, and . _ - @';
}

/** What is wrong with a new password, as far as that can be told here. */
export function passwordMistake(password: string): string | undefined {
  const { length } = [...password];
  if (length < SHORTEST) return `At least ${SHORTEST} characters; these are ${length}.`;
  return length > LONGEST ? `At most ${LONGEST} characters; these are ${length}.` : undefined;
}
