import react from '@vitejs/plugin-react';
import { defaultClientConditions, defineConfig } from 'vite';

/** Where `npm run dev`-like work finds an api: `vite apps/portal` with `API_URL` proxies to it. */
const api = process.env['API_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react()],
  resolve: { conditions: ['source', ...defaultClientConditions] },
  server: { proxy: { '/api': { target: api, changeOrigin: true } } },
  build: {
    outDir: '../../dist/apps/portal',
    emptyOutDir: true,
    target: 'es2023',
    // Every browser that we support preloads by itself, and the api's policy forbids scripts in the page.
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
});
