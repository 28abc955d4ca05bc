/** The fleet as its file declares it, and random edits of that. Pure: files are written elsewhere. */
import {stream} from './random.mjs';

/** The rest have no expertise of their own. */
const components = [
  ...['hermes', 'athena', 'apollo', 'budget', 'engram', 'ergon', 'harmonia', 'metis', 'noesis', 'numa'],
  ...Array.from({length: 30}, (_, n) => `helper${n}`),
];

/** @returns specialists as {component, enabled, temperature, env} */
export function firstFleet(count) {
  return components.slice(0, count).map(component => ({component, enabled: true, temperature: 0.5, revision: 0}));
}

/**
 * @param choice in [0, 1) decides all that is random about the edit.
 * @param most specialists that there may be.
 */
export function edited(fleet, choice, most) {
  const random = stream(choice, 'edit');
  const kind = random.weighted({revision: 4, temperature: 2, reorder: 2, remove: 2, add: 3, enabled: 1, typo: 2});
  const one = random.int(0, fleet.length - 1);
  const change = fields => fleet.map((entry, index) => (index === one ? {...entry, ...fields(entry)} : entry));
  switch (kind) {
    case 'revision':
      return {kind, fleet: change(({revision}) => ({revision: revision + 1}))};
    case 'temperature':
      return {kind, fleet: change(() => ({temperature: random.int(0, 10) / 10}))};
    case 'enabled':
      return {kind, fleet: change(({enabled}) => ({enabled: !enabled}))};
    case 'reorder':
      return {kind, fleet: [...fleet.slice(one), ...fleet.slice(0, one)]};
    case 'remove':
      return {kind, fleet: fleet.length > 3 ? fleet.filter((_, index) => index !== one) : fleet};
    case 'add':
      return {kind, fleet: withOneMore(fleet, random, most)};
    case 'typo':
      return {kind, fleet};
    default:
      throw new Error(`unknown edit: ${kind}`);
  }
}

function withOneMore(fleet, random, most) {
  const absent = components.slice(0, most).filter(component => !fleet.some(entry => entry.component === component));
  if (absent.length === 0) return fleet;
  return [...fleet, {component: random.pick(absent), enabled: true, temperature: 0.5, revision: 0}];
}

/** The file. A change of `revision` needs a restart, one of `temperature` does not. */
export function fleetYaml(fleet, {host, ports, typo = false}) {
  const specialists = fleet.map(
    ({component, enabled, temperature, revision}) =>
      `    - {component: ${component}, enabled: ${enabled}, parameters: {temperature: ${temperature}}, ` +
      `env: {TORTURE_REVISION: "${revision}"}}`,
  );
  return `apiVersion: tekton.ai/v1alpha1
kind: Fleet
metadata:
  name: tortured
spec:
  allowMassPrune: true
  ports: {from: ${ports.from}, to: ${ports.to}}
  defaults:
    provider: offline
    host: ${host}
    terminationGracePeriodSeconds: 3
    probes: {periodSeconds: 1, timeoutSeconds: 1, failureThreshold: 2}
  specialists:
${specialists.join('\n')}
${typo ? '  specialist: [unfinished\n' : ''}`;
}
