/** What most verbs have in common. */

export const nameHelp = 'name, ai id, or namespace/name';

/** Global options as commander hands them out. */
export interface Scope {
  readonly namespace?: string;
  readonly fleet?: string;
}

export function scope({namespace, fleet}: Scope): Scope {
  return {...(namespace !== undefined && {namespace}), ...(fleet !== undefined && {fleet})};
}
