/** Conditions as in Kubernetes: few types, CamelCase reasons, stable messages. */

export const conditionTypes = ['Accepted', 'Live', 'ModelAvailable', 'Ready', 'Progressing', 'Stalled'] as const;

export type ConditionType = (typeof conditionTypes)[number];

/** The closed list of reasons; docs/reference/conditions.md says what each asks of a person. */
export const reasons = [
  'Ready',
  'Accepted',
  'Live',
  'ModelAvailable',
  'Fallback',
  'Converged',
  'Launching',
  'Starting',
  'Reconfiguring',
  'Restarting',
  'BackingOff',
  'Draining',
  'Drifted',
  'Disabled',
  'Stopped',
  'Exited',
  'ProbeFailed',
  'CrashLoop',
  'LaunchFailed',
  'RolloutFailed',
  'CanaryRunning',
  'CanaryFailed',
  'ProviderUnreachable',
  'ProviderError',
  'ModelNotFound',
  'Pulling',
  'PullFailed',
  'Unauthorized',
  'SecretMissing',
  'QuotaExceeded',
  'BudgetExceeded',
  'PortsExhausted',
  'PortTaken',
  'Conflict',
  'DependencyNotReady',
  'RegistryUnavailable',
  'NotChecked',
] as const;

export type Reason = (typeof reasons)[number];

export interface Condition {
  readonly type: ConditionType;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: Reason;
  /** For people. Stable while nothing changes: no timestamps, no counters that tick. */
  readonly message: string;
  /** ISO 8601; changes only when `status` changes. */
  readonly lastTransitionTime: string;
  readonly observedGeneration: number;
}

export function condition(conditions: readonly Condition[], type: ConditionType): Condition | undefined {
  return conditions.find(c => c.type === type);
}

export function isTrue(conditions: readonly Condition[], type: ConditionType): boolean {
  return condition(conditions, type)?.status === 'True';
}
