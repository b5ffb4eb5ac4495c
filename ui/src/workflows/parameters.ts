import type { Schemas } from '../api/client';
import type { JsonSchema } from '../schema-form/schema';

type Parameter = NonNullable<Schemas['Workflow']['parameters']>[number];

/** The JSON Schema that the parameters of a workflow have to fit. */
export function schemaOf(parameters: Parameter[]): JsonSchema {
  return {
    type: 'object',
    additionalProperties: false,
    required: parameters.filter((each) => each.required).map((each) => each.name),
    properties: Object.fromEntries(
      parameters.map(({ name, type, description, default: without, choices }) => [
        name,
        {
          ...(type !== 'any' && { type }),
          ...(description && { description }),
          ...(without !== undefined && without !== null && { default: without }),
          ...(choices && choices.length > 0 && { enum: choices }),
        } as JsonSchema,
      ]),
    ),
  };
}

/** The same, of the parameters as they are written in a document. What cannot be read is any value. */
export function schemaOfDocument(parameters: Readonly<Record<string, unknown>>): JsonSchema {
  const required: string[] = [];
  const properties: Record<string, JsonSchema> = {};
  for (const [name, given] of Object.entries(parameters)) {
    const written = typeof given === 'object' && given !== null && !Array.isArray(given) ? (given as Record<string, unknown>) : {};
    const { required: needed, choices, type, ...rest } = written;
    if (needed === true) required.push(name);
    properties[name] = {
      ...(rest as JsonSchema),
      ...(typeof type === 'string' && type !== 'any' && { type }),
      ...(Array.isArray(choices) && choices.length > 0 && { enum: choices as unknown[] }),
    };
  }
  return { type: 'object', additionalProperties: false, required, properties };
}
