/** What programs import: the registry client, and the types and errors that it speaks in. */
export {RegistryClient} from './registry/registry-client.js';
export type {
  RegisterRequest,
  RegisteredSpecialist,
  RegistryClientOptions,
  ReservedPort,
  WaitOptions,
} from './registry/registry-client.js';
export type {RegistryChange, RegistryState} from './registry/registry-file.js';
export type {RegistryEntry} from './registry/registry-text.js';
export type {PortRequest, PortResult} from './registry/ports.js';
export {HostUnusableError, PortTakenError, PortsExhaustedError} from './registry/port-errors.js';
export {OutcomeUnknownError} from './registry/combiner.js';
export {PortRegisteredError} from './registry/registration.js';
export * from './api/errors.js';
export * from './api/conditions.js';
export * from './api/types.js';
