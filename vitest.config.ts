import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

// Tests that need a service which npm does not bring (Ceph, Docker, client programs of other majors) run by `make test-services`.
const needServices = ['src/**/*.services.test.ts', 'test/**/*.services.test.ts']

export default defineConfig({
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    // A worker may have servers of its own beside it.
    maxWorkers: Math.min(availableParallelism(), 4),
    pool: 'forks',
    restoreMocks: true,
    unstubEnvs: true,
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['src/**/*.test.ts'], exclude: needServices, testTimeout: 20_000, hookTimeout: 20_000 },
      },
      {
        extends: true,
        test: { name: 'servers', include: ['test/**/*.test.ts'], exclude: needServices, testTimeout: 120_000, hookTimeout: 120_000 },
      },
      {
        extends: true,
        // One Ceph and one engine for all: their files run one after another.
        test: { name: 'services', include: needServices, testTimeout: 180_000, hookTimeout: 180_000, fileParallelism: false },
      },
    ],
  },
})
