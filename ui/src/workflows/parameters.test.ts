import { expect, it } from 'vitest';

import { schemaOfDocument } from './parameters';

it('parameters of a document are asked for as they are written', () => {
  const schema = schemaOfDocument({
    who: { type: 'string', required: true, minLength: 2, description: 'Whom' },
    speed: { type: 'string', choices: ['slow', 'fast'], default: 'slow' },
    anything: { type: 'any' },
    broken: 7,
  });
  expect(schema.required).toEqual(['who']);
  expect(schema.properties).toEqual({
    who: { type: 'string', minLength: 2, description: 'Whom' },
    speed: { type: 'string', enum: ['slow', 'fast'], default: 'slow' },
    anything: {},
    broken: {},
  });
});
