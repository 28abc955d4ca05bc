/** One run: a scenario drawn from a seed, carried out, and judged. Same seed, same run. */
import {Actors} from './actors.js';
import {Audit} from './audit.js';
import type {Rule} from './audit.js';
import {Incidents} from './incidents.js';
import {whatIsMissing} from './rest.js';
import {drawScenario} from './scenario.js';
import type {Keep} from './scenario.js';
import {World} from './world.js';

export interface RunOptions {
  readonly seed: number;
  readonly keep?: Keep;
  readonly trace?: boolean;
}

export interface Outcome {
  readonly seed: number;
  readonly violation: {readonly rule: Rule; readonly text: string} | undefined;
  readonly steps: number;
  /** Simulated, ms. */
  readonly ms: number;
  readonly hash: number;
  /** What happened how often, and while what was under way. */
  readonly happened: ReadonlyMap<string, number>;
  readonly lines: readonly string[];
}

/** From calm until everything is as declared: a resync, the longest backoff and the longest grace find place in it. */
const convergeMs = 1_200_000;
/** The same where nobody was kept from hearing of a change: then no resync is needed. */
const promptMs = 260_000;
/** Incidents after which only the next resync finds out what there is to do. */
const unheard = [
  'watch events lost',
  'watch events late',
  'a save meets a command',
  'command killed at an effect',
  'down',
  'machine reboots',
];
/** So long must nothing have happened before it counts as rest. */
const quietMs = 15_000;
const lookEveryMs = 1_000;
const maxSteps = 200_000;

export async function simulate({seed, keep, trace = false}: RunOptions): Promise<Outcome> {
  const world = new World(seed, trace);
  const audit = new Audit(world);
  const scenario = drawScenario(seed, keep);
  world.driftPolicy = scenario.driftPolicy;
  const actors = new Actors(world, audit);
  const incidents = new Incidents(world, actors, audit, scenario);
  const unhandled = (error: unknown): void =>
    audit.fail('an error that nobody handles', error instanceof Error ? (error.stack ?? error.message) : String(error));
  process.on('unhandledRejection', unhandled);
  try {
    incidents.begin();
    const isHeard = (): boolean => !unheard.some(kind => incidents.happened.has(kind));
    await run(world, audit, scenario.calmAt, isHeard);
  } finally {
    process.off('unhandledRejection', unhandled);
  }
  const {violation} = audit;
  const {steps, now, hash, lines = []} = world.scheduler;
  return {
    seed,
    violation: violation && {rule: violation.rule, text: violation.message},
    steps,
    ms: now,
    hash,
    happened: incidents.happened,
    lines,
  };
}

async function run(world: World, audit: Audit, calmAt: number, isHeard: () => boolean): Promise<void> {
  const {scheduler, files, random} = world;
  const goOn = async (until: number): Promise<boolean> => {
    if (scheduler.steps > maxSteps) {
      audit.fail('not at rest', `${maxSteps} steps`);
      return false;
    }
    const stepped = await scheduler.step(until);
    if (stepped) audit.step();
    return stepped && !audit.violation;
  };
  while (await goOn(calmAt));
  if (audit.violation) return;

  const deadline = Math.max(scheduler.now, calmAt) + (isHeard() ? promptMs : convergeMs);
  let quietSince = scheduler.now;
  let lookedAt = 0;
  let missing: string | undefined = 'nobody has looked';
  files.onActivity = () => (quietSince = scheduler.now);
  for (;;) {
    if (scheduler.now - lookedAt >= lookEveryMs) {
      lookedAt = scheduler.now;
      missing = whatIsMissing(world, audit) ?? othersUnderWay(world);
      if (missing) quietSince = scheduler.now;
      else if (scheduler.now - quietSince > quietMs) break;
    }
    if (!(await goOn(deadline))) break;
  }
  if (audit.violation) return;
  if (missing) return audit.fail('not as declared in time', missing);
  if (scheduler.now - quietSince <= quietMs) return audit.fail('not at rest', 'something always happens');

  // From here on there is nothing to be done: a resync, and many probes, find nothing.
  const rest = scheduler.now + random.pick([30_000, 30_000, 420_000]);
  const workers = new Set(world.machine.byUid.keys());
  files.onActivity = what => audit.fail('not at rest', what);
  while (await goOn(rest));
  const late = [...world.machine.byUid.keys()].find(uid => !workers.has(uid));
  if (late !== undefined) audit.fail('not at rest', `${late} was launched`);
  missing = whatIsMissing(world, audit);
  if (missing) audit.fail('not at rest', missing);
}

function othersUnderWay({machine}: World): string | undefined {
  const busy = [...machine.workers].find(({chats}) => chats > 0);
  if (busy) return `${busy.uid} (${busy.aiId}) still chats`;
  const life = [...machine.actors].find(({name}) => !name.startsWith('controller'));
  return life && `${life.name} has not ended`;
}
