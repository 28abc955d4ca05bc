import type {FleetRecord} from '../api/types.js';
import type {About} from './deps.js';

export function aboutOf({namespace, name, revision = '', source}: FleetRecord): About {
  return {fleet: {namespace, name}, revision, repositoryUrl: source.type === 'git' ? source.url : undefined};
}
