// Creates the test bucket. Needs only what the environment of with-services.sh says.
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'

const { TIDEMARK_TEST_S3_ENDPOINT: endpoint, TIDEMARK_TEST_S3_ACCESS_KEY: accessKeyId, TIDEMARK_TEST_S3_SECRET_KEY: secretAccessKey } = process.env
const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } })
await client.send(new CreateBucketCommand({ Bucket: process.env.TIDEMARK_TEST_S3_BUCKET }))
