/** The platform's version, the same as in `package.json`. Agents and replica nodes report it. */
export const VERSION = '0.1.0';
