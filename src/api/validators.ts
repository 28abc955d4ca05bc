/**
 * One compiled validator for each kind of document. Compiling costs a command a tenth of a second, so the build
 * replaces this module by the code that ajv generates from the same schemas with the same options (scripts/validators.mjs).
 */
import {Ajv} from 'ajv';
import type {ValidateFunction} from 'ajv';
import {schemas, validation} from './schema.js';
import type {DocumentKind} from './schema.js';

const ajv = new Ajv(validation);

export const validators: Readonly<Record<DocumentKind, ValidateFunction>> = {
  Fleet: ajv.compile(schemas.Fleet),
  Specialist: ajv.compile(schemas.Specialist),
  Expertise: ajv.compile(schemas.Expertise),
  Policy: ajv.compile(schemas.Policy),
  GitSource: ajv.compile(schemas.GitSource),
};
