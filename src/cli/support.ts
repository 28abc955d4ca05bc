/** Where tekton-ai runs at all; checked before anything else is loaded, so it imports nothing. */

/** The oldest Node that we test on. Keep in step with `engines` in package.json. */
const oldestNode = {major: 20, minor: 19};

/**
 * What to tell somebody whose machine can't run tekton-ai; undefined where it can.
 *
 * @param nodeVersion as in `process.versions.node`
 */
export function unsupported(nodeVersion: string, platform: string): string | undefined {
  if (platform === 'win32') return 'tekton-ai does not support Windows yet; use WSL';
  const [major = 0, minor = 0] = nodeVersion.split('.').map(Number);
  const recent = major > oldestNode.major || (major === oldestNode.major && minor >= oldestNode.minor);
  if (recent) return undefined;
  return `tekton-ai needs Node ${oldestNode.major}.${oldestNode.minor} or newer; this is Node ${nodeVersion}`;
}
