/** Names: of specialists, of components, and the registry keys that are made of them. */

/** Components of the platform whose own spelling has an underscore; `tekton-core` is another spelling of one. */
const underscored: ReadonlySet<string> = new Set(['tekton_core']);

const dnsLabel = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export interface SpecialistNames {
  readonly namespace: string;
  readonly name: string;
  readonly component: string;
}

/** Whether `text` is a DNS label (RFC 1123): what Kubernetes accepts as a name. */
export function isDnsLabel(text: string): boolean {
  return dnsLabel.test(text);
}

/** A component in the platform's own spelling; one that the platform doesn't know keeps the spelling it came with. */
export function canonicalComponent(component: string): string {
  const spelling = component.replaceAll('-', '_');
  return underscored.has(spelling) ? spelling : component;
}

/** Key to look a component up by: equal for all spellings of it. */
export function componentKey(component: string): string {
  return component.replaceAll('-', '_');
}

/** Name of a specialist that declares none: a DNS label made of its component. */
export function defaultName(component: string): string {
  return component.replaceAll('_', '-');
}

/**
 * Registry key of a specialist. With a default name it keeps the component's spelling (`tekton_core-ai`, as the
 * platform's programs look it up); with a name of its own it is `<name>-ai`; outside of the namespace `default`
 * that follows `<namespace>.`, which no DNS label contains, so no two specialists share a key.
 */
export function aiIdOf({namespace, name, component}: SpecialistNames): string {
  const own = name === defaultName(component) ? canonicalComponent(component) : name;
  return namespace === 'default' ? `${own}-ai` : `${namespace}.${own}-ai`;
}

/** Variable that overrides the model of a component's specialists: `ATHENA_AI_MODEL`, `TEKTON_CORE_AI_MODEL`. */
export function modelVariable(component: string): string {
  return `${component.replaceAll('-', '_').toUpperCase()}_AI_MODEL`;
}
