/** A component as people write it: `athena` → `Athena`, `tekton_core` and `tekton-core` → `Tekton Core`. */
export function displayName(component: string): string {
  return component
    .split(/[-_]+/)
    .filter(part => part !== '')
    .map(part => part.charAt(0).toUpperCase() + part.slice(1))
    .join(' ');
}
