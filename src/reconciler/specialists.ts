/** All specialists that the controller minds, by fleet and ai id: two fleets that declare the same have one each. */
import {fleetId} from './fleets.js';
import type {FleetKey} from './ports.js';
import {Specialist} from './specialist.js';

export class Specialists {
  readonly #byId = new Map<string, Specialist>();

  /** The one of this fleet; made when it is asked for the first time. */
  of({namespace, fleet}: FleetKey, aiId: string): Specialist {
    const made = new Specialist(aiId, {namespace, fleet});
    const known = this.#byId.get(made.id);
    if (known) return known;
    this.#byId.set(made.id, made);
    return made;
  }

  get(id: string): Specialist | undefined {
    return this.#byId.get(id);
  }

  delete({id}: Specialist): void {
    this.#byId.delete(id);
  }

  get all(): readonly Specialist[] {
    return [...this.#byId.values()];
  }

  inFleet(key: FleetKey): readonly Specialist[] {
    return this.all.filter(s => fleetId(s.key) === fleetId(key));
  }

  /** Those that `dependsOn` names. */
  dependenciesOf({key, desired}: Specialist): readonly Specialist[] {
    const names = new Set(desired?.spec.dependsOn ?? []);
    if (names.size === 0) return [];
    return this.inFleet(key).filter(s => s.desired && names.has(s.desired.name));
  }

  /** Those of other fleets under the same ai id. */
  namesakesOf({aiId, id}: Specialist): readonly Specialist[] {
    return this.all.filter(s => s.aiId === aiId && s.id !== id);
  }

  dependentsOf({key, desired}: Specialist): readonly Specialist[] {
    if (!desired) return [];
    return this.all.filter(s => s.desired?.spec.dependsOn.includes(desired.name) && fleetId(s.key) === fleetId(key));
  }
}
