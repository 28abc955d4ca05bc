/** A review as SARIF 2.1.0, as code scanning reads it. */
import {createHash} from 'node:crypto';
import path from 'node:path';
import {pathToFileURL} from 'node:url';
import type {Location, Log, ReportingDescriptor, Result} from 'sarif';
import {version} from '../../api/version.js';
import type {Place, Review} from './review.js';
import {levelOf, massPruneText, problemText, stepsOf, stepText} from './words.js';
import type {Level} from './words.js';

interface Finding {
  readonly rule: string;
  readonly level: Level;
  readonly message: string;
  readonly place: Place | undefined;
  /** What makes it the same finding as before, wherever its line has moved to. */
  readonly same: string;
}

/** What each rule means; all stand in every log, so that their indices stay. */
const rules = {
  'invalid-input': ['error', 'A fleet file is wrong'],
  create: ['note', 'A specialist is to be created'],
  reconfigure: ['note', 'A specialist is to be reconfigured as it runs'],
  restart: ['warning', 'A specialist is to be restarted'],
  leave: ['warning', 'A specialist was changed by hand and is left so'],
  stop: ['warning', 'A specialist is to be stopped'],
  prune: ['warning', 'A specialist is to be pruned'],
  block: ['error', 'A specialist is blocked'],
  'mass-prune': ['warning', 'More than half of a fleet is to be pruned'],
} as const satisfies Readonly<Record<string, readonly [Level, string]>>;

const ruleIds = Object.keys(rules);

export function sarifLog(review: Review): Log {
  const findings = findingsOf(review);
  return {
    version: '2.1.0',
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    runs: [
      {
        tool: {driver: {name: 'tekton-ai', version, semanticVersion: version, rules: ruleIds.map(ruleOf)}},
        automationDetails: {id: `tekton-ai/${review.verb}/`},
        columnKind: 'utf16CodeUnits',
        results: findings.map((finding, index) => resultOf(finding, numberOf(finding, findings.slice(0, index)))),
      },
    ],
  };
}

function ruleOf(id: string): ReportingDescriptor {
  const [level, text] = rules[id as keyof typeof rules]; // of `ruleIds`
  return {id, shortDescription: {text}, defaultConfiguration: {level}};
}

export function findingsOf({problems, fleets}: Review): readonly Finding[] {
  return [
    ...problems.map((problem): Finding => {
      const {place, message} = problem;
      return {rule: 'invalid-input', level: 'error', message: problemText(problem), place, same: message};
    }),
    ...fleets.flatMap(fleet => [
      ...stepsOf(fleet).map((step): Finding => {
        const {type: rule, place, namespace, name} = step;
        return {rule, level: levelOf(step), message: stepText(step), place, same: `${namespace}/${name}`};
      }),
      ...(fleet.massPrune
        ? [
            {
              rule: 'mass-prune',
              level: 'warning' as const,
              message: massPruneText(fleet),
              place: fleet.place,
              same: `${fleet.namespace}/${fleet.name}`,
            },
          ]
        : []),
    ]),
  ];
}

/** How many of the same there were before it. */
export function numberOf({rule, place, same}: Finding, before: readonly Finding[]): number {
  return before.filter(one => one.rule === rule && one.place?.file === place?.file && one.same === same).length;
}

/** The same for the same finding, whatever line it is on now. */
export function fingerprintOf({rule, place, same}: Finding, number: number): string {
  return createHash('sha256')
    .update(JSON.stringify([rule, place?.file ?? '', same, number]))
    .digest('hex')
    .slice(0, 32);
}

function resultOf(finding: Finding, number: number): Result {
  const {rule, level, message, place} = finding;
  return {
    ruleId: rule,
    ruleIndex: ruleIds.indexOf(rule),
    level,
    message: {text: message},
    ...(place && {locations: [locationOf(place)]}),
    partialFingerprints: {'tektonAi/v1': fingerprintOf(finding, number)},
  };
}

function locationOf({file, line, column}: Place): Location {
  const isOutside = path.isAbsolute(file);
  const uri = isOutside ? pathToFileURL(file).href : file.split('/').map(encodeURIComponent).join('/');
  return {
    physicalLocation: {
      artifactLocation: {uri, ...(!isOutside && {uriBaseId: '%SRCROOT%'})},
      region: {startLine: line ?? 1, ...(column !== undefined && {startColumn: column})},
    },
  };
}
