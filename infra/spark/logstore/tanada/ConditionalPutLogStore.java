package tanada;

import io.delta.storage.HadoopFileSystemLogStore;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FSDataOutputStreamBuilder;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.s3a.RemoteFileChangedException;

/**
 * A log store for S3A under which any number of drivers, and delta-rs, may commit to one table.
 *
 * <p>An entry of the log is written by one PUT with {@code If-None-Match: *}, so that of two writers
 * of one version the second is refused by the store itself. Delta's own log store for S3 decides
 * that inside one driver: two drivers then lose commits silently. A file system without conditional
 * writes is refused, because here nothing else keeps two writers apart.
 */
public final class ConditionalPutLogStore extends HadoopFileSystemLogStore {
  private static final String CONDITIONAL = "fs.option.create.conditional.overwrite";

  public ConditionalPutLogStore(Configuration configuration) {
    super(configuration);
  }

  @Override
  public void write(
      Path path, Iterator<String> actions, Boolean overwrite, Configuration configuration)
      throws IOException {
    ByteArrayOutputStream entry = new ByteArrayOutputStream();
    while (actions.hasNext()) {
      entry.writeBytes((actions.next() + "\n").getBytes(StandardCharsets.UTF_8));
    }
    FileSystem store = path.getFileSystem(configuration);
    FSDataOutputStreamBuilder<?, ?> file = store.createFile(path).recursive().overwrite(true);
    try {
      put(overwrite ? file : file.must(CONDITIONAL, true), entry.toByteArray());
    } catch (IllegalArgumentException unsupported) {
      throw new IOException("no conditional put, so no safe commit: " + path, unsupported);
    } catch (RemoteFileChangedException | org.apache.hadoop.fs.FileAlreadyExistsException refused) {
      // Refused may also mean that our own first PUT arrived and its answer was lost. Delta would
      // then commit the same rows once more; every entry holds an id of its own, so it can be told.
      if (!Arrays.equals(read(store, path), entry.toByteArray())) {
        // The JDK's exception, not Hadoop's, is what Delta takes for "another writer was first".
        FileAlreadyExistsException taken = new FileAlreadyExistsException(path.toString());
        taken.initCause(refused);
        throw taken;
      }
    }
  }

  @Override
  public Boolean isPartialWriteVisible(Path path, Configuration configuration) {
    return false;
  }

  private static void put(FSDataOutputStreamBuilder<?, ?> file, byte[] entry) throws IOException {
    FSDataOutputStream stream = file.build();
    boolean whole = false;
    try {
      stream.write(entry);
      whole = true;
    } finally {
      if (whole) {
        stream.close();
      } else {
        // Closing would upload what was written so far.
        stream.abort();
      }
    }
  }

  private static byte[] read(FileSystem store, Path path) throws IOException {
    try (FSDataInputStream stream = store.open(path)) {
      return stream.readAllBytes();
    }
  }
}
