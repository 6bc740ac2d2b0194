"""What every job did, in MLflow: jobs leave records in a spool folder, a shipper sends them when a store answers."""
