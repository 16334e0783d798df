/** Written into every manifest and commit entry; equal to package.json, which a test checks. */
export const toolVersion = '0.1.0'
