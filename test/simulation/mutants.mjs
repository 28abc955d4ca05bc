/**
 * Deliberate breakages of src/reconciler, one each: the real code with a line or two replaced while it is bundled. The
 * simulator has to catch every one of them, else it proves less than it seems to.
 */
import {readFile} from 'node:fs/promises';

export const mutants = [
  {
    name: 'plan: every change is a restart',
    file: 'plan.ts',
    from: 'if (hard.length === 0) return',
    to: 'if (hard.length < 0) return',
  },
  {
    name: 'keeper: the end of any worker is taken for the end of the one in hand',
    file: 'keeper.ts',
    from: 'if (this.#closed || specialist.worker !== worker) return;\n    const {ports, events',
    to: 'if (this.#closed) return;\n    const {ports, events',
  },
  {
    name: 'keeper: one missed ping is enough',
    file: 'keeper.ts',
    from: 'specialist.missedProbes < failureThreshold',
    to: 'specialist.missedProbes < 1',
  },
  {
    name: 'keeper: a predecessor that hangs is left',
    file: 'keeper.ts',
    from: 'worker.stop(0).catch',
    to: 'Promise.resolve(0).catch',
  },
  {
    name: 'queue: two passes of one name at once',
    file: 'queue.ts',
    from: 'if (this.#running.has(key)) {',
    to: 'if (this.#running.has(`not ${key}`)) {',
  },
  {
    name: 'queue: what came in during a pass is forgotten',
    file: 'queue.ts',
    from: 'if (this.#again.delete(key)) this.add(key);',
    to: 'if (this.#again.delete(key)) void key;',
  },
  {
    name: 'specialist: a changed declaration waits for the backoff of the one before',
    file: 'specialist.ts',
    from: 'this.holdUntil = 0;\n    this.rollout',
    to: 'this.holdUntil += 3e6;\n    this.rollout',
  },
  {
    name: 'steps: observed before the worker has taken it over',
    file: 'steps.ts',
    from: 'await worker?.configure(config);',
    to: 'this.#rest(specialist, desired);\n    await worker?.configure(config);',
  },
  {
    name: 'steps: one that was declared again meanwhile stays pruned',
    file: 'steps.ts',
    from: 'if (specialist.desired) pass(specialist);\n    else specialists',
    to: 'specialists',
  },
  {
    name: 'fleets: records that can not be read are no records',
    file: 'fleets.ts',
    from: 'this.#records = await ports.store.readFleets();',
    to: 'this.#records = await ports.store.readFleets().catch(() => []);\n    if (this.#records.length === 0) for (const known of this.all.values()) this.#options.changed({...known, record: {...known.record, specialists: []}});',
  },
  {
    name: 'fleets: a shorter file is believed at once',
    file: 'fleets.ts',
    from: 'if (missing(fleet.record, first).length === 0) return first;',
    to: 'if (missing(fleet.record, first).length >= 0) return first;',
  },
  {
    name: 'status: Ready though it drains',
    file: 'status.ts',
    from: 'if (facts.worker?.draining) {\n    return {\n      type',
    to: 'if (facts.crashLoop && facts.worker?.draining) {\n    return {\n      type',
  },
  {
    name: 'status: transition times move with every status',
    file: 'status.ts',
    from: 'before?.status === status ? before.lastTransitionTime : now',
    to: 'before?.status === status && facts.restarts === 0 ? before.lastTransitionTime : now',
  },
  {
    name: 'models: a provider is asked only once',
    file: 'models.ts',
    from: "if (group.spec.type === 'offline') return;",
    to: 'return;',
  },
  {
    name: 'launcher: the port of last time is taken without asking',
    file: 'launcher.ts',
    from: 'launch({uid, port, config, env: env.values, startupMs})',
    to: 'launch({uid, port: lastPort ?? 45_000, config, env: env.values, startupMs})',
  },
  {
    name: 'registry-sync: a sync that failed is not tried again',
    file: 'registry-sync.ts',
    from: 'this.#cancelRetry = this.#ports.clock.after(retryMs, () => this.request());',
    to: 'this.#cancelRetry = undefined;',
  },
  {
    name: 'backoff: the first restart waits for an hour',
    file: 'backoff.ts',
    from: 'if (failures === 1) return {next: {failures}, delayMs: 0};',
    to: 'if (failures === 1) return {next: {failures}, delayMs: 3_600_000};',
  },
  {
    name: 'ownerless: a record that is missed once is gone',
    file: 'ownerless.ts',
    from: 'if (now - since < confirmMs ||',
    to: 'if (now - since < -1 ||',
  },
  {
    name: 'status-board: rests nine times as long as a write took, a suspended one included',
    file: 'status-board.ts',
    from: 'Math.min(longestRestMs, (now - began) * restFactor)',
    to: '(now - began) * restFactor',
  },
  {
    name: 'status-board: a status that could not be written is forgotten',
    file: 'status-board.ts',
    from: 'this.#dirty.add(id);\n        this.#flushAfter(retryMs);',
    to: '',
  },
  {
    name: 'steps: two fleets start one name at once',
    file: 'steps.ts',
    from: 'if (rival) {',
    to: 'if (rival && specialist.restarts < 0) {',
  },
  {
    name: 'steps: one that gave no answer to a configuration is not told again',
    file: 'steps.ts',
    from: 'if (specialist.unsure) {',
    to: 'if (specialist.unsure && specialist.restarts < 0) {',
  },
  {
    name: 'fleets: an older reading of the records stands over a newer writing',
    file: 'fleets.ts',
    from: 'await this.#inTurn(() => this.#apply(fleet, loaded, appliedAt));',
    to: 'await this.#apply(fleet, loaded, appliedAt);',
  },
  {
    name: 'fleets: an older reading of the source undoes an apply',
    file: 'fleets.ts',
    from: 'isOutdated = previous.appliedAt !== since;',
    to: 'isOutdated = false;',
  },
  {
    name: 'controller: records that could not be read are not read again',
    file: 'controller.ts',
    from: 'if (this.#closed) return;\n    this.#cancelReadAgain ??=',
    to: 'if (resyncMs > 0) return;\n    this.#cancelReadAgain ??=',
  },
  {
    name: 'status: what is off counts as acted on while it still comes up',
    file: 'status.ts',
    from: '(facts.off !== undefined && facts.progress === undefined)',
    to: 'facts.off !== undefined',
  },
  {
    name: 'desired: generations count from one again',
    file: 'generations.ts',
    from: 'generation: same ? old.generation : last + 1',
    to: 'generation: same ? old.generation : Math.max(1, last)',
  },
];

/** An esbuild plugin that breaks the code as a mutant says. Fails where there is nothing to break any more. */
export function mutated({name, file, from, to}) {
  return {
    name: 'mutated',
    setup({onLoad}) {
      onLoad({filter: new RegExp(`/src/reconciler/${file.replace('.', '\\.')}$`)}, async ({path}) => {
        const text = await readFile(path, 'utf8');
        if (text.split(from).length !== 2) throw new Error(`mutant "${name}": ${file} has its text not exactly once`);
        return {contents: text.replace(from, () => to), loader: 'ts'};
      });
    },
  };
}
