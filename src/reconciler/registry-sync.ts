/** Keeps the registry's entries of our fleets equal to the workers that listen: many changes, few commits. */
import {describeError} from '../api/errors.js';
import {description} from '../expertise/prompt.js';
import type {Desired} from '../api/types.js';
import type {Worker} from '../runtime/runtime.js';
import type {Ports, RegistryFact} from './ports.js';

const retryMs = 1000;
const gatherMs = 40;

export class RegistrySync {
  readonly #ports: Pick<Ports, 'registry' | 'log' | 'clock'>;
  readonly #fleets: () => readonly string[];
  readonly #facts: () => readonly RegistryFact[];
  #wanted = false;
  #running: Promise<void> | undefined;
  #cancelRetry: (() => void) | undefined;

  constructor(
    ports: Pick<Ports, 'registry' | 'log' | 'clock'>,
    fleets: () => readonly string[],
    facts: () => readonly RegistryFact[],
  ) {
    this.#ports = ports;
    this.#fleets = fleets;
    this.#facts = facts;
  }

  /** Asks for a sync with the facts as they are when it begins; asked for during one, another follows. */
  request(): void {
    this.#wanted = true;
    this.#running ??= this.#run();
  }

  /** Resolves when nothing is asked for any more, or a sync failed and is to be retried. */
  async settle(): Promise<void> {
    await this.#running;
    this.#cancelRetry?.();
  }

  async #run(): Promise<void> {
    try {
      while (this.#wanted) {
        // Workers of one burst come up within milliseconds of each other: one commit for many of them.
        await new Promise<void>(resolve => this.#ports.clock.after(gatherMs, resolve));
        this.#wanted = false;
        await this.#ports.registry.sync(this.#fleets(), this.#facts());
      }
    } catch (error) {
      this.#ports.log.warn({error: describeError(error)}, 'cannot write the registry');
      this.#cancelRetry?.();
      this.#cancelRetry = this.#ports.clock.after(retryMs, () => this.request());
    } finally {
      this.#running = undefined;
    }
  }
}

/** The seed's entry; what is ours beyond it stands in `metadata`. */
export function registryFact(worker: Worker, desired: Desired): RegistryFact {
  const {spec} = desired;
  const {instance, hello} = worker;
  return {
    aiId: worker.aiId,
    port: worker.port,
    component: spec.component,
    metadata: {
      description: description(spec),
      pid: instance.identity.pid,
      start_time: instance.identity.startTime,
      boot_id: instance.identity.bootId,
      uid: instance.uid,
      name: desired.name,
      namespace: desired.namespace,
      fleet: `${desired.namespace}/${desired.fleet}`,
      host: worker.host,
      provider: hello.choice.provider,
      model: hello.choice.model,
      roles: spec.expertise.roles,
      spec_hash: hello.specHash,
    },
  };
}
