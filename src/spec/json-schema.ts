/** JSON Schemas that users write. ajv is loaded when there is one, and at no other time. */
import {describeError} from '../api/errors.js';
import type {Json} from '../api/types.js';

export type UserSchema = Readonly<Record<string, Json>>;

/** Says what is wrong with a value; undefined: nothing. A hostile `pattern` makes it slow: bound the time. */
export type SchemaCheck = (value: unknown) => string | undefined;

/**
 * Compiles a draft-07 schema. Nothing is fetched: a reference beyond the schema itself is an error.
 *
 * @returns the check, or what is wrong with the schema
 */
export async function compileSchema(schema: UserSchema): Promise<SchemaCheck | {readonly problem: string}> {
  const {Ajv} = await import('ajv');
  try {
    const ajv = new Ajv({strict: false, validateFormats: false, logger: false, addUsedSchema: false});
    const validate = ajv.compile(schema);
    return value => {
      if (validate(value)) return undefined;
      const [first] = validate.errors ?? [];
      return `${first?.instancePath === undefined || first.instancePath === '' ? 'it' : first.instancePath} ${first?.message ?? 'does not fit'}`;
    };
  } catch (error) {
    return {problem: describeError(error)};
  }
}
