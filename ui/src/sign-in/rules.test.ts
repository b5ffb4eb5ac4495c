import { expect, it } from 'vitest';

import { browserOf } from './agent';
import { nameMistake, passwordMistake } from './rules';

it('names and passwords are looked at before they are sent', () => {
  for (const name of ['ada', 'Ada.L-1_x@example.org', 'Jürgen', 'a'.repeat(64)]) expect(nameMistake(name)).toBeUndefined();
  for (const name of ['', 'a b', 'a/b', 'a'.repeat(65)]) expect(nameMistake(name)).toBeDefined();
  for (const password of ['correct horse', 'a'.repeat(128), '🐎'.repeat(12)]) expect(passwordMistake(password)).toBeUndefined();
  for (const password of ['', 'eleven char', '🐎'.repeat(11), 'a'.repeat(129)]) expect(passwordMistake(password)).toBeDefined();
});

it('a browser is called as people call it', () => {
  expect(browserOf('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36')).toBe('Chrome 140 on Linux');
  expect(browserOf('Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0')).toBe('Edge 140 on Windows');
  expect(browserOf('Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:143.0) Gecko/20100101 Firefox/143.0')).toBe('Firefox 143 on macOS');
  expect(browserOf('Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1')).toBe('Safari 18 on iOS');
  expect(browserOf('curl/8.5.0')).toBe('curl/8.5.0');
  expect(browserOf('')).toBe('Unknown');
});
