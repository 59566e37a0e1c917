import type { Option } from 'commander';
import type { PolicyWish } from '#libs/client';
import type { RelationshipView } from '#libs/contracts/http';
import { formatBytes, formatDuration, HOUR_MS, MINUTE_MS, SECOND_MS } from '#libs/kernel';
import { option } from '../define-command.js';
import type { Paper } from '../output/paper.js';
import {
  appendDisk,
  appendTier,
  bandwidth,
  frequency,
  type FrequencySeconds,
  minutesOf,
  type TierWish,
  wholeNumber,
  withinMinutes,
} from '../parse.js';

type Policy = RelationshipView['policy'];

export interface PolicyFlags {
  readonly frequency?: FrequencySeconds;
  readonly history?: number;
  readonly appConsistent?: number | 'none';
  readonly tier?: readonly TierWish[];
  readonly minimumAge?: number;
  readonly immutable?: number;
  readonly bandwidth?: number | 'none';
  readonly excludeDisk?: readonly number[];
  readonly allDisks?: true;
}

/** A span of minutes as people say it: 90 → `90 min`, 1,440 → `1 d`. */
export function spanOf(minutes: number): string {
  const [sizeMinutes, unit] = (
    [
      [10_080, 'w'],
      [1_440, 'd'],
      [60, 'h'],
    ] as const
  ).find(([size]) => minutes >= size && minutes % size === 0) ?? [1, 'min'];
  return `${minutes / sizeMinutes} ${unit}`;
}

export const every = (frequencySeconds: number): string =>
  frequencySeconds < 60 ? `${frequencySeconds} s` : formatDuration(frequencySeconds * SECOND_MS).replace(' 00 s', '');

const orNone =
  (parse: (text: string) => number) =>
  (text: string): number | 'none' =>
    text === 'none' ? text : parse(text);

/** What decides which points stay. */
export const retentionOptions = (historyDefault = ''): Option[] => [
  option('--history <hours>', `hourly recovery points kept beside the newest, 0 to 24${historyDefault}`, wholeNumber(0, 24)),
  option(
    '--app-consistent <hours>',
    'among them an application-consistent one each so many hours, 1 to 12; or none',
    orNone(wholeNumber(1, 12)),
  ),
  option('--tier <every:for>', 'also one each so often for so long, such as 1d:30d or 1w:1y; may be repeated; none for none', appendTier),
  option('--minimum-age <time>', 'no point goes before this age, such as 1h', withinMinutes(0, 7 * 24 * 60)),
  option(
    '--immutable <time>',
    'nobody can remove a younger point, such as 7d; 0h to promise nothing for points to come',
    withinMinutes(0, 366 * 24 * 60),
  ),
];

export const policyOptions = (frequencyDefault = '', historyDefault = ''): Option[] => [
  option('--frequency <time>', `how often: 30s, 5m or 15m${frequencyDefault}`, frequency),
  ...retentionOptions(historyDefault),
  option('--bandwidth <rate>', 'at most so many bytes a second, such as 10MiB; none for no limit', bandwidth),
  option('--exclude-disk <number>', 'leave this disk out; may be repeated', appendDisk),
];

/** The policy that is asked for: what is not given stays as it was, or the api's default. Undefined when nothing was asked for. */
export function wishOf(flags: PolicyFlags, before: Policy | undefined): NonNullable<PolicyWish> | undefined {
  const retention = {
    ...(flags.appConsistent === undefined
      ? {}
      : { applicationConsistentEveryHours: flags.appConsistent === 'none' ? null : flags.appConsistent }),
    ...(flags.tier === undefined ? {} : { tiers: flags.tier.filter((tier) => tier !== 'none') }),
    ...(flags.minimumAge === undefined ? {} : { minimumAgeMinutes: flags.minimumAge }),
    ...(flags.immutable === undefined ? {} : { immutableHours: Math.ceil((flags.immutable * MINUTE_MS) / HOUR_MS) }),
  };
  const wish = {
    ...(flags.frequency === undefined ? {} : { frequencySeconds: flags.frequency }),
    ...(flags.history === undefined ? {} : { recoveryHistoryHours: flags.history }),
    ...(flags.bandwidth === undefined ? {} : { bandwidthBytesPerSecond: flags.bandwidth === 'none' ? null : flags.bandwidth }),
    ...(flags.allDisks === true ? { excludedDisks: [] } : {}),
    ...(flags.excludeDisk === undefined ? {} : { excludedDisks: [...flags.excludeDisk] }),
    ...(Object.keys(retention).length === 0 ? {} : { retention: { ...before?.retention, ...retention } }),
  };
  return Object.keys(wish).length === 0 ? undefined : { ...before, ...wish };
}

export function policyFacts({ policy }: RelationshipView): Parameters<Paper['facts']>[0] {
  const { frequencySeconds, recoveryHistoryHours, bandwidthBytesPerSecond, excludedDisks, retention } = policy;
  const { applicationConsistentEveryHours: appHours, tiers, minimumAgeMinutes, immutableHours } = retention;
  return [
    ['Every', every(frequencySeconds)],
    ['History', `${recoveryHistoryHours} hourly recovery points beside the newest`],
    ['', appHours === null ? undefined : `an application-consistent one every ${appHours} h among them`],
    ...tiers.map(({ everyMinutes, forMinutes }) => ['', `one every ${spanOf(everyMinutes)} for ${spanOf(forMinutes)}`] as const),
    ['', minimumAgeMinutes === 0 ? undefined : `nothing goes before ${spanOf(minimumAgeMinutes)}`],
    ['Immutable', immutableHours === 0 ? 'not promised' : `for ${spanOf(minutesOf(immutableHours * HOUR_MS))}`],
    ['Bandwidth', bandwidthBytesPerSecond === null ? 'no limit' : `${formatBytes(bandwidthBytesPerSecond)}/s`],
    ['Left out', excludedDisks.length === 0 ? 'no disk' : `disks ${excludedDisks.join(', ')}`],
  ];
}
