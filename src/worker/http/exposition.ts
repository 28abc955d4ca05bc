/** Prometheus' text format, by its own client library, which is as large as all the rest of a worker. */
import {Registry} from 'prom-client';
import type {Metric} from 'prom-client';
import type {Family, Snapshot} from './metrics.js';

export interface Exposition {
  readonly text: string;
  readonly contentType: string;
}

export async function expose({labels, families}: Snapshot): Promise<Exposition> {
  const registry = new Registry();
  registry.setDefaultLabels(labels);
  for (const family of families) registry.registerMetric(counted(family));
  return {text: await registry.metrics(), contentType: registry.contentType};
}

/**
 * A metric that was counted elsewhere. All that the registry asks of one is `get`; its types know only the library's own
 * kinds, which count for themselves and can't be told what a histogram holds.
 */
function counted(family: Family): Metric {
  const {name, help, type} = family;
  const values = type === 'histogram' ? family.histograms.flatMap(one => bucketValues(name, one)) : family.samples;
  const metric = {name, get: () => Promise.resolve({name, help, type, values, aggregator: 'sum'})};
  return metric as unknown as Metric;
}

function bucketValues(
  name: string,
  {labels, buckets, sum}: Extract<Family, {type: 'histogram'}>['histograms'][number],
): readonly object[] {
  return [
    ...buckets.map(({le, count}) => ({metricName: `${name}_bucket`, labels: {le, ...labels}, value: count})),
    {metricName: `${name}_sum`, labels, value: sum},
    {metricName: `${name}_count`, labels, value: buckets.at(-1)?.count ?? 0},
  ];
}
